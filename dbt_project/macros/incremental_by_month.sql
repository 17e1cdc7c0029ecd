{#-
    A table that is kept up to date month by month, for marts of few rows.

    The model is written as if for all months, and has the columns dataset and source_month. A month
    is built when the loader's audit (raw.loads) has a later load of it than the one from which it
    was last built; staging.built_months remembers that, in the same transaction. dbt's own
    incremental models look at the newest rows instead: one trip dated 2098 would silence all later
    months, and a month that is loaded again would never be seen.

    Rows are replaced in place. The table is never dropped, so that views on it stay and readers
    find it at any moment; it gets other columns only where no view reads those that go.
-#}
{% materialization incremental_by_month, adapter='postgres' %}
    {%- set target = this.incorporate(type='table') -%}
    {%- set rows = make_temp_relation(target) -%}
    {%- set ddl = get_table_columns_and_constraints() -%}
    {%- set columns = model.columns.values() | map(attribute='name') | join(', ') -%}

    {% do begin_build(target) %}
    {% do get_assert_columns_equivalent(sql) %}
    {%- set is_new_shape = shape_is_new(target, ddl) -%}
    {%- set months = changed_months(target, is_new_shape or should_full_refresh()) -%}
    {% do allow_parallel_plans() %}
    {% call statement('main') -%}
        create temporary table {{ rows }} on commit drop as
        select * from ({{ sql }}) as model
        where {{ is_one_of(months) }}
    {%- endcall %}
    {% if is_new_shape %}
        {% do take_shape(target, ddl) %}
    {% endif %}
    {% if months %}
        {% do run_query('delete from ' ~ target ~ ' where ' ~ is_one_of(months)) %}
        {% do run_query('insert into ' ~ target ~ ' (' ~ columns ~ ') select ' ~ columns ~ ' from ' ~ rows) %}
        {% do remember_built_months(target, months) %}
    {% endif %}
    {% do end_build(target) %}

    {{ return({'relations': [target]}) }}
{% endmaterialization %}
