{#-
    A table with a partition for each month of one dataset, for trips.

    Like incremental_by_month, with millions of rows per month: each month that has changed is
    filled by a `create table as` of its own, which PostgreSQL runs in parallel; then all of them
    take the places of the old ones, by raw.swap_month() (flows/warehouse/schema.sql), in one transaction with
    the memory of what was built. Readers see the months as they were until it commits. What the
    contract promises of each row is checked while a partition is still apart.
-#}
{% materialization partitioned_by_month, adapter='postgres' %}
    {%- set target = this.incorporate(type='table') -%}
    {%- set ddl = get_table_columns_and_constraints() -%}

    {% do begin_build(target) %}
    {% do get_assert_columns_equivalent(sql) %}
    {%- set is_new_shape = shape_is_new(target, ddl) -%}
    {%- set months = changed_months(target, is_new_shape or should_full_refresh()) -%}
    {%- set parent = parent_of_months(target, ddl) -%}
    {%- set promises = create_shape(target, ddl) if is_new_shape else parent -%}

    {% call statement('main') -%} select {{ months | length }} as changed_months {%- endcall %}
    {% for month in months if month.load_id %}
        {% do plan_for_whole_months() %}
        {% call statement('fill') -%}
            create table {{ fresh_month(target, month) }} as
            select * from (
                {{ sql }}
            ) as model
            where source_month = '{{ month.source_month }}'
        {%- endcall %}
        {% do run_query("select raw.constrain_month('" ~ promises ~ "', '" ~ month.source_month
            ~ "', '" ~ fresh_month(target, month) ~ "')") %}
    {% endfor %}
    {% if is_new_shape %}
        {% do run_query("select raw.reshape('" ~ parent ~ "', '" ~ promises ~ "')") %}
        {% do remember_shape(target, ddl) %}
    {% endif %}
    {% for month in months %}
        {%- set fresh = "'" ~ fresh_month(target, month) ~ "'" if month.load_id else 'null' -%}
        {% do run_query("select raw.swap_month('" ~ parent ~ "', '" ~ month.source_month ~ "', "
            ~ fresh ~ ")") %}
    {% endfor %}
    {% if parent != target %}
        {% do run_query("select raw.replace_table('" ~ target ~ "', '" ~ parent ~ "')") %}
    {% endif %}
    {% do remember_built_months(target, months) %}
    {% do end_build(target) %}

    {{ return({'relations': [target]}) }}
{% endmaterialization %}


{#- The table that a month is filled into, before it is the month's partition. -#}
{% macro fresh_month(target, month) -%}
    {{ schema_of_months() }}.new_{{ local_md5(target.identifier)[:8] }}_{{ month.load_id }}
{%- endmacro %}


{#-
    The partitioned table, made where there is none. In the place of a plain table, which the first
    version of this project made, it is made apart, and takes its place at the end.
-#}
{% macro parent_of_months(target, ddl) %}
    {%- set kind = run_query("select relkind::text from pg_class where oid = to_regclass('" ~ target ~ "')") -%}
    {%- set kind = kind.rows[0][0] if kind.rows else none -%}
    {%- if kind == 'p' -%} {{ return(target) }} {%- endif -%}
    {%- set parent = target.incorporate(path={'schema': schema_of_months()}) if kind else target -%}
    {%- set statement -%}
        create table {{ parent }} {{ ddl }} partition by list (source_month)
    {%- endset -%}
    {% do run_query(statement) %}
    {% do create_indexes(parent) %}
    {{ return(parent) }}
{% endmacro %}
