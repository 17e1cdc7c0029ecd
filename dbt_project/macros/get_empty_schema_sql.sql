{#-
    What dbt compares a contract with. dbt's own warns of each numeric without a scale, at every
    build; here money has none on purpose: an amount stays as TLC writes it, and is never rounded.
-#}
{% macro postgres__get_empty_schema_sql(columns) %}
    select
        {%- for column in columns.values() %}
        cast(null as {{ column['data_type'] }}) as {{ column['name'] }}{{ ',' if not loop.last }}
        {%- endfor %}
{% endmacro %}
