{#-
    Views and seeds, replaced in place: what reads them stays, and what has not changed is not touched.
    dbt's own drop a view with all that reads it, and empty and fill each seed at each build.
-#}

{% materialization replaced_view, adapter='postgres' %}
    {%- set target = this.incorporate(type='view') -%}

    {% do begin_build(target) %}
    {% if config.get('contract').enforced %}{% do get_assert_columns_equivalent(sql) %}{% endif %}
    {% call statement('main') -%}
        select raw.replace_view('{{ target }}', $view_of_nyc_taxi$
            {{ sql }}
        $view_of_nyc_taxi$)
    {%- endcall %}
    {% do remember_code(target, code_of_model()) %}
    {% do end_build(target) %}

    {{ return({'relations': [target]}) }}
{% endmaterialization %}


{#- Under dbt's own name: dbt refuses seeds with any other one. -#}
{% materialization seed, adapter='postgres' %}
    {%- set target = this.incorporate(type='table') -%}
    {%- set rows = make_temp_relation(target) -%}
    {%- set table = load_agate_table() -%}
    {%- do store_result('agate_table', response='OK', agate_table=table) -%}

    {%- set ddl = seed_columns_and_key(table) -%}
    {%- set statements = rows_of_seed(rows, ddl, table) -%}

    {% do begin_build(target) %}
    {% do run(statements) %}
    {% if shape_is_new(target, ddl) %}
        {% do take_shape(target, ddl) %}
    {% endif %}
    {% do run("select raw.keep_everywhere('" ~ target ~ "')") %}
    {% call statement('main', fetch_result=True) -%}
        select raw.replace_rows('{{ target }}', '{{ rows }}')
    {%- endcall %}
    {% do remember_code(target, local_md5(statements | replace(rows | string, ''))) %}
    {% do end_build(target) %}

    {{ return({'relations': [target]}) }}
{% endmaterialization %}


{% macro seed_columns_and_key(table) -%}
    {%- set types = config.get('column_types') or {} -%}
    (
        {%- for name in table.column_names %}
        {{ name }} {{ types.get(name) or adapter.convert_type(table, loop.index0) }},
        {%- endfor %}
        primary key ({{ config.get('meta').key }})
    )
{%- endmacro %}


{% macro rows_of_seed(relation, ddl, table) -%}
    create temporary table {{ relation }} {{ ddl }} on commit drop;
    {%- for chunk in table.rows | batch(500) %}
    insert into {{ relation }} values
    {%- for row in chunk %}
        ({% for value in row -%}
            {{ 'null' if value is none else "'" ~ (value | string | replace("'", "''")) ~ "'" }}
            {{- ', ' if not loop.last }}
        {%- endfor %}){{ ',' if not loop.last }}
    {%- endfor %};
    {%- endfor %}
{%- endmacro %}
