{#- A relation's columns with their types as PostgreSQL writes them. dbt's own calls each array `ARRAY`,
    which is no type that a unit test's rows could be cast to. -#}
{% macro postgres__get_columns_in_relation(relation) %}
    {%- set columns = rows_of(
        "select attname, format_type(atttypid, atttypmod), null, null, null from pg_attribute
        where attrelid = to_regclass('" ~ relation ~ "') and attnum > 0 and not attisdropped order by attnum"
    ) -%}
    {{ return(sql_convert_columns_in_relation(columns)) }}
{% endmacro %}
