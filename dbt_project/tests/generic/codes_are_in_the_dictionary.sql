{#-
    Returns the codes that a dictionary lacks, with the months and the number of rows that have them,
    in one parallel scan. `codes` are columns with the seed of each, whose key has the column's name or
    is `location_id`.
-#}
{% test codes_are_in_the_dictionary(model, codes) %}
    select
        trips.source_month,
        codes.code_of,
        codes.code,
        count(*) as row_count
    from (select * from {{ model }}) as trips
    {%- for column, dictionary in codes.items() %}
    {%- set key = 'location_id' if column.endswith('location_id') else column %}
    left join {{ dictionary }} as of_{{ column }} on trips.{{ column }} = of_{{ column }}.{{ key }}
    {%- endfor %}
    cross join lateral (
        values
        {%- for column in codes %}
        {%- set key = 'location_id' if column.endswith('location_id') else column %}
        ('{{ column }}', trips.{{ column }}::text, of_{{ column }}.{{ key }} is null){{ ',' if not loop.last }}
        {%- endfor %}
    ) as codes (code_of, code, is_lacking)
    where
        codes.is_lacking
        and codes.code is not null
        -- What the line above says, before a row is taken apart.
        and (
            {%- for column in codes %}
            {%- set key = 'location_id' if column.endswith('location_id') else column %}
            (of_{{ column }}.{{ key }} is null and trips.{{ column }} is not null){{ ' or' if not loop.last }}
            {%- endfor %}
        )
    group by trips.source_month, codes.code_of, codes.code
{% endtest %}
