{#-
    Returns the codes that a dictionary lacks, with the months and the number of rows that have them,
    in one scan. `codes` are columns with the seed of each, whose key has the column's name or is
    `location_id`.
-#}
{% test codes_are_in_the_dictionary(model, codes) %}
    with codes as (

        select
            source_month,
            {%- for column in codes %}
            {{ column }}::text as {{ column }},
            grouping({{ column }}) = 0 as is_{{ column }},
            {%- endfor %}
            count(*) as row_count
        from {{ model }}
        group by grouping sets (
            {%- for column in codes %}
            (source_month, {{ column }}){{ ',' if not loop.last }}
            {%- endfor %}
        )

    )

    {% for column, dictionary in codes.items() %}
    select
        source_month,
        '{{ column }}' as code_of,
        {{ column }} as code,
        row_count
    from codes
    where
        is_{{ column }}
        and {{ column }} not in (
            select {{ 'location_id' if column.endswith('location_id') else column }}::text from {{ dictionary }}
        )
    {{ 'union all' if not loop.last }}
    {%- endfor %}
{% endtest %}
