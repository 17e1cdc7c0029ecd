{#-
    A table that is kept up to date month by month, for marts of few rows.

    The model is written as if for all months, and has the columns dataset and source_month. A month
    is built when the loader's audit (raw.loads) has a later load of it than the one from which it
    was last built; bookkeeping.built_months remembers that, in the same transaction. dbt's own
    incremental models look at the newest rows instead: one trip dated 2098 would silence all later
    months, and a month that is loaded again would never be seen.

    Rows are replaced in place. The table is never dropped, so that views on it stay and readers
    find it at any moment; it gets other columns only where no view reads those that go.

    A condition on the month is moved into a subquery, down to the partition, but not into a CTE that
    is read twice, and by Citus into nothing that groups: a model says where it reads the trips or raw rows
    `where {{ is_of_the_month() }}`. What is joined to a dictionary after that is a CTE `as materialized`,
    which Citus plans by itself: else it would fetch the trips of all months to group them.

    With `meta: {of_rows_left_out: true}`, a model is asked only for the raw rows that are not trips.
-#}
{% materialization incremental_by_month, adapter='postgres' %}
    {%- set target = this.incorporate(type='table') -%}
    {%- set ddl = get_table_columns_and_constraints() -%}
    {%- set columns = model.columns.values() | map(attribute='name') | join(', ') -%}

    {% do begin_build(target) %}
    {% do get_assert_columns_equivalent(sql | replace(is_of_the_month(), 'false')) %}
    {%- set is_new_shape = shape_is_new(target, ddl) -%}
    {%- set months = changed_months(target, should_full_refresh(), is_new_shape) -%}
    {% call statement('main') -%} select {{ months | length }} as changed_months {%- endcall %}
    {% if months %}
        {% do plan_for_whole_months() %}
    {% endif %}
    {% for month in months %}
        {% call statement('fill') -%}
            create temporary table rows_of_month_{{ loop.index }} on commit drop as
            select * from (
                {{ sql | replace(is_of_the_month(), is_of(month)) }}
            ) as model
            where
                {{ is_of(month) }}
                {%- if config.get('meta').of_rows_left_out %}
                -- None is rejected of a month that was cast as it is: then nothing is read.
                and not coalesce((
                    select is_plain from {{ source('tlc', 'loads') }} where load_id = {{ month.load_id or 'null' }}
                ), false)
                and source_row <@ {{ rows_left_out(month) }}
                {%- endif %}
        {%- endcall %}
    {% endfor %}
    {% if is_new_shape %}
        {% do take_shape(target, ddl) %}
    {% endif %}
    {% do run("select raw.identify_rows('" ~ target ~ "')") %}
    {% if config.get('meta').of_rows_left_out %}
        {% do run("select raw.spread('" ~ target ~ "'), raw.keep_readers_out('" ~ target ~ "')") %}
    {% endif %}
    {% for month in months %}
        {% do run(
            'delete from ' ~ target ~ ' where ' ~ is_of(month) ~ ';
            insert into ' ~ target ~ ' (' ~ columns ~ ') select ' ~ columns
            ~ ' from rows_of_month_' ~ loop.index
        ) %}
    {% endfor %}
    {% do remember_built_months(target, months) %}
    {% do end_build(target) %}

    {{ return({'relations': [target]}) }}
{% endmaterialization %}


{#-
    The numbers of a month's raw rows that are not trips, as a multirange: a condition on it reaches
    the raw table, below the casts. An anti-join would be made above them, after each row's casts.
    `trips` is the table of the month's trips, where it is not yet in its place.
-#}
{% macro rows_left_out(month, trips=none) %}
    {%- set model = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
        | selectattr('config.meta.dataset', 'equalto', month.dataset) | first %}
    (
        select coalesce(range_agg(int8range(raw_rows.source_row, raw_rows.source_row, '[]')), '{}')
        from {{ source('tlc', month.dataset ~ '_tripdata') }} as raw_rows
        where
            raw_rows.source_month = '{{ month.source_month }}'
            and not exists (
                select from {{ trips or name_of_node(model) }} as trips
                where
                    trips.source_month = raw_rows.source_month
                    and trips.source_row = raw_rows.source_row
            )
    )
{%- endmacro %}


{#- That a row is of the month which is being built; of any, where the model is compiled alone. -#}
{% macro is_of_the_month() -%} true /* of the month */ {%- endmacro %}
