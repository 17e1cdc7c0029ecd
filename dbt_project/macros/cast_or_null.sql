{#-
    Casts that never raise: a text that is no value of the type becomes null.

    `is_castable` is null for a null text, so `not is_castable` finds just the values that a cast
    would lose. Whole numbers may be written as decimals ('1.0'). Numbers and timestamps that
    PostgreSQL reads from words ('NaN', 'infinity', 'now') are no values here.
-#}

{% macro is_castable(column, type) -%}
    {%- if type == 'smallint' -%}
        (pg_input_is_valid({{ column }}, 'smallint') or {{ is_whole_decimal(column) }})
    {%- elif type == 'numeric' -%}
        (pg_input_is_valid({{ column }}, 'numeric') and {{ column }} not ilike '%n%')
    {%- elif type == 'timestamp' -%}
        (pg_input_is_valid({{ column }}, 'timestamp') and {{ column }} ~ '^\s*\d')
    {%- else -%}
        {{ exceptions.raise_compiler_error("is_castable does not know the type " ~ type) }}
    {%- endif -%}
{%- endmacro %}

{% macro is_whole_decimal(column) -%}
    ({{ column }} ~ '^\s*[+-]?\d{1,5}\.0*\s*$' and pg_input_is_valid(split_part({{ column }}, '.', 1), 'smallint'))
{%- endmacro %}

{% macro cast_or_null(column, type) -%}
    {%- if type == 'smallint' -%}
        case
            when pg_input_is_valid({{ column }}, 'smallint') then {{ column }}::smallint
            when {{ is_whole_decimal(column) }} then split_part({{ column }}, '.', 1)::smallint
        end
    {%- else -%}
        case when {{ is_castable(column, type) }} then {{ column }}::{{ type }} end
    {%- endif -%}
{%- endmacro %}
