{#-
    A table of few rows without months, replaced in place at each build: what reads it stays, and a
    table whose rows are the same is not touched. dbt's own `table` drops what people have built on it.
-#}
{% materialization replaced_table, adapter='postgres' %}
    {%- set target = this.incorporate(type='table') -%}
    {%- set rows = make_temp_relation(target) -%}
    {%- set ddl = get_table_columns_and_constraints() -%}

    {% do begin_build(target) %}
    {% do get_assert_columns_equivalent(sql) %}
    {% call statement('fill') -%}
        create temporary table {{ rows }} on commit drop as
        {{ sql }}
    {%- endcall %}
    {% if shape_is_new(target, ddl) %}
        {% do take_shape(target, ddl) %}
    {% endif %}
    {% call statement('main') -%}
        select raw.replace_rows('{{ target }}', '{{ rows }}')
    {%- endcall %}
    {% do remember_code(target, code_of_model(ddl)) %}
    {% do end_build(target) %}

    {{ return({'relations': [target]}) }}
{% endmaterialization %}
