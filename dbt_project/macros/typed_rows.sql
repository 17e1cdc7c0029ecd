{#-
    A staging model: each raw row of a dataset with its columns named and typed, and why it is
    rejected, if it is.

    typed_columns: a column's name from here on, its type (macros/values.sql), and the names that it
        has had in TLC's files or in common copies, in lower case. A file has one of them.
    spellings: of a column with codes, the code of each word that has stood in its place, in lower
        case. A word that nobody knows becomes null and is listed in unknown_spellings; its row is a
        trip all the same.
-#}
{% macro typed_rows(dataset, raw_table, typed_columns, spellings={}) -%}
{#- Conditions on typed_at, which is volatile, are checked after the values are there. One on the
    values alone PostgreSQL would check first, and read them all twice. -#}
{%- set is_any_lost -%}
    case when typed_at is not null then {{ any_lost(typed_columns, spellings) }} end
{%- endset -%}

with source as (

    select
        raw_rows.source_month,
        raw_rows.source_row,
        raw_rows.load_id,
        {%- for name, type, raw_names in typed_columns %}
            {{ first_there('raw_rows', type, raw_names) }} as {{ name }}_text,
        {%- endfor %}
        -- With `.*`, because a file may have a column that is called raw_rows.
        coalesce(raw_rows.*) as raw_row
    from {{ raw_table }} as raw_rows

)

select
    (select '{{ dataset }}') as dataset,  -- a subquery, as in trips.sql
    source_month,
    source_row,
    load_id,
    {%- for name, type, raw_names in typed_columns %}
        {{ name }},
    {%- endfor %}

    {{ is_any_lost }} as is_rejected,
    case when {{ is_any_lost }} then {{ rejection_reasons(typed_columns, spellings) }} end
        as rejection_reasons,
    case when {{ is_any_lost }} then jsonb_strip_nulls(
        to_jsonb(raw_row) - array['source_month', 'source_row', 'load_id']
    ) end as raw_values,
    {{ unknown_spellings(typed_columns, spellings) }} as unknown_spellings

-- Not CTEs: PostgreSQL fills one with a volatile column as a whole, and in one process.
from (
    select
        source_month,
        source_row,
        load_id,
        raw_row,
        {%- for name, type, raw_names in typed_columns %}
            {{ name }}_text,
            {{ value(name ~ '_text', type, name ~ '_reading', spellings.get(name)) }} as {{ name }},
        {%- endfor %}
        {{ read_once() }} as typed_at
    from (
        select
            *,
            {%- for name, type, raw_names in typed_columns %}
                {{ reading(name ~ '_text', type) }} as {{ name }}_reading,
            {%- endfor %}
            {{ read_once() }} as read_at
        from source
    ) as readings
) as typed
{%- endmacro %}
