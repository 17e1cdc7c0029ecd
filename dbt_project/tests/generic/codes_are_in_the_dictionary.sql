{#-
    Returns the codes that a dictionary lacks, with the months and the number of rows that have them,
    in one parallel scan. `codes` are columns with the seed of each, whose key has the column's name or
    is `location_id`.
-#}
{% test codes_are_in_the_dictionary(model, codes) %}
    {%- set keys, lacking = {}, {} -%}
    {%- for column in codes -%}
        {%- do keys.update({column: 'of_' ~ column ~ '.' ~ ('location_id' if column.endswith('location_id') else column)}) -%}
        {%- do lacking.update({column: '(' ~ keys[column] ~ ' is null and trips.' ~ column ~ ' is not null)'}) -%}
    {%- endfor %}
    select
        trips.source_month,
        codes.code_of,
        codes.code,
        count(*) as row_count
    from (select * from {{ model }}) as trips
    {%- for column, dictionary in codes.items() %}
    left join {{ dictionary }} as of_{{ column }} on trips.{{ column }} = {{ keys[column] }}
    {%- endfor %}
    cross join lateral (
        values
        {%- for column in codes %}
        ('{{ column }}', trips.{{ column }}::text, {{ lacking[column] }}){{ ',' if not loop.last }}
        {%- endfor %}
    ) as codes (code_of, code, is_lacking)
    where
        codes.is_lacking
        -- That any is lacking, before a row is taken apart.
        and ({{ lacking.values() | join(' or ') }})
    group by trips.source_month, codes.code_of, codes.code
{% endtest %}
