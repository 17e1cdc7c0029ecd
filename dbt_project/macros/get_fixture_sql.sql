{#-
    The input of a unit test. dbt's own writes all columns of the real table into the SQL, and a raw
    table may have columns with any name, a quote in it included; this one escapes them.
-#}
{% macro get_fixture_sql(rows, column_name_to_data_types) -%}
    {%- set types = column_name_to_data_types or {} -%}
    {%- if not types -%}
        {%- for column in adapter.get_columns_in_relation(this) -%}
            {%- do types.update({column.name: column.data_type}) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- for row in rows or [{}] -%}
        {%- set values = format_row(row, types) %}
    select
        {%- for name, type in types.items() %}
        {{ values.get(name, 'null::' ~ type) }} as "{{ name | replace('"', '""') }}"
        {{- ',' if not loop.last }}
        {%- endfor %}
        {{ 'limit 0' if not rows }}
        {{ 'union all' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}
