{#-
    In the warehouse a model's schema is the one that its configuration names. Any other target, as dev
    in profiles.yml, has its own schema's name in front of it, as dbt has it.
-#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or target.schema if target.name == 'warehouse' else default__generate_schema_name(custom_schema_name, node) }}
{%- endmacro %}


{#- Where the months' partitions are. -#}
{% macro schema_of_months() -%}
    {{ return(generate_schema_name('trip_months', none) | trim) }}
{%- endmacro %}
