{#-
    A table with a partition for each month of one dataset, for trips.

    Like incremental_by_month, with millions of rows per month. Each month that has changed is filled
    apart by a `create table as` of its own, which PostgreSQL runs in parallel, and committed; then it
    takes the place of the old one, by raw.swap_month() (flows/warehouse/schema.sql), in a transaction
    with the memory of what was built. So a build that is killed loses one month's work. Where the
    table gets other columns, all months are filled first and take their places at once. What the
    contract promises of each row is checked while a month is still apart.
-#}
{% materialization partitioned_by_month, adapter='postgres' %}
    {%- set target = this.incorporate(type='table') -%}
    {%- set ddl = columns_and_key() -%}

    {% do begin_build(target, turn='keep_turn') %}
    {% do run('select raw.drop_leftovers()') %}
    {% do get_assert_columns_equivalent(sql) %}
    {%- set is_new_shape = shape_is_new(target, ddl, kind='p') -%}
    {%- set months = changed_months(target, should_full_refresh(), is_new_shape) -%}
    {%- set promises = create_shape(target, ddl, on_commit='preserve rows') if is_new_shape else target -%}

    {% call statement('main') -%} select {{ months | length }} as changed_months {%- endcall %}
    {% for together in ([months] if is_new_shape else months | batch(1)) %}
        {% for month in together if month.load_id %}
            {% do begin_next_transaction() %}
            {% do fill_month(target, month, promises) %}
        {% endfor %}
        {% do begin_next_transaction() %}
        {% do swap_months(target, together, ddl, promises if is_new_shape) %}
    {% endfor %}
    {% do end_build(target) %}
    {# Tests and other models read it next. #}
    {% do run('select raw.wait_for_commits()') %}

    {{ return({'relations': [target]}) }}
{% endmaterialization %}


{#- Fill a month's table apart, once the month that is there can be replaced. -#}
{% macro fill_month(target, month, promises) %}
    {% do run("select raw.ask_for_month(to_regclass('" ~ target ~ "'), '" ~ month.source_month ~ "')") %}
    {% do plan_for_whole_months() %}
    {% call statement('fill', fetch_result=true) -%}
        select
            trip_count,
            why_not_cast
        from raw.fill_month('{{ fresh_month(target, month) }}', {{ month.load_id }}, $rows_of_nyc_taxi$
            select * from (
                {{ sql }}
            ) as model
            where source_month = '{{ month.source_month }}'
        $rows_of_nyc_taxi$)
    {%- endcall %}
    {%- set filled = load_result('fill').table.rows[0] -%}
    {%- if filled.why_not_cast %}
        {%- do log(name_of(target) ~ ' ' ~ month.source_month.strftime('%Y-%m') ~ ': each value is looked at, since '
            ~ filled.why_not_cast, info=True) -%}
    {%- endif %}
    {% do refuse_rejected_rows(month, fresh_month(target, month), filled.trip_count) %}
    {% do run("select raw.constrain_month('" ~ promises ~ "', '" ~ month.source_month
        ~ "', '" ~ fresh_month(target, month) ~ "')") %}
    {% for statement in after_filling(fresh_month(target, month)) %}
        {% do run(statement) %}
    {% endfor %}
    {% do run("select raw.spread('" ~ fresh_month(target, month) ~ "')") %}
    {% do run("select raw.mark_as_apart('" ~ fresh_month(target, month) ~ "', '" ~ name_of(target) ~ "')") %}
{% endmacro %}


{#- What is done to a month's table once it is filled and has its key, without which a publication would
    refuse an update: a part of the model's code. -#}
{% macro after_filling(trips) %}
    {{ return(mark_by_file_order(trips) if config.get('meta').looks_at_neighbours else []) }}
{% endmacro %}


{#- Put months that are filled in their places, in the table's new shape if it gets one. -#}
{% macro swap_months(target, months, ddl, new_shape) %}
    {%- set parent = parent_of_months(target, ddl) -%}
    {% do remember_built_months(target, months, are_apart=true) %}
    {% if new_shape %}
        {% do remember_shape(target, ddl) %}
        {% do run("select raw.reshape('" ~ parent ~ "', '" ~ new_shape ~ "')") %}
        {% do run("select raw.spread('" ~ parent ~ "')") %}
    {% endif %}
    {% for month in months %}
        {%- set fresh = "'" ~ fresh_month(target, month) ~ "'" if month.load_id else 'null' -%}
        {% do run("select raw.swap_month('" ~ parent ~ "', '" ~ month.source_month ~ "', "
            ~ fresh ~ ")") %}
    {% endfor %}
    {% if parent != target %}
        {% do run("select raw.replace_table('" ~ target ~ "', '" ~ parent ~ "')") %}
    {% endif %}
{% endmacro %}


{#- The table that a month is filled into, before it is the month's partition; another one in each run,
    since somebody may be reading what a run that was killed has left. -#}
{% macro fresh_month(target, month) -%}
    {{ schema_of_months() }}.new_{{ local_md5(target.identifier ~ invocation_id)[:8] }}_{{ month.load_id }}
{%- endmacro %}


{#-
    The partitioned table, made where there is none. In the place of a plain table, which the first
    version of this project made, it is made apart, and takes its place at the end.
-#}
{% macro parent_of_months(target, ddl) %}
    {%- set kind = kind_of(target) -%}
    {%- if kind == 'p' -%} {{ return(target) }} {%- endif -%}
    {%- set parent = target.incorporate(path={'schema': schema_of_months()}) if kind else target -%}
    {%- set statement -%}
        create table {{ parent }} {{ ddl }} partition by list (source_month)
    {%- endset -%}
    {% do run(statement) %}
    {% do persist_docs(parent, model) %}
    {% do create_indexes(parent) %}
    {{ return(parent) }}
{% endmacro %}


{#- The table's columns and constraints. On several servers, the key has the column that says which server
    a row is on, as Citus demands of each key. -#}
{% macro columns_and_key() %}
    {%- set ddl = get_table_columns_and_constraints() -%}
    {%- if ask('raw.is_on_several_servers()') -%}
        {%- set ddl = ddl | replace('primary key (trip_id, source_month)', 'primary key (trip_id, source_month, source_row)') -%}
    {%- endif -%}
    {{ return(ddl) }}
{% endmacro %}


{#- After each run: the statistics of the tables of trips that it has built months of. -#}
{% macro take_statistics(results) %}
    {%- for result in results
        if result.status == 'success' and result.node.config.materialized == 'partitioned_by_month' %}
    select raw.take_statistics('{{ name_of_node(result.node) }}');
    {%- endfor %}
{% endmacro %}
