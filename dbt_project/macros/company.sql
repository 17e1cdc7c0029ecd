{#-
    Who drove, of trips of any dataset. `trips` is the alias of rows that have hvfhs_license_num,
    dispatching_base_num and taxi, which is what the vehicle is called if it is a taxi. The dictionaries
    are joined by their keys, so that a question that does not ask for the company reads none of them.
-#}
{% macro company(trips) -%}
    coalesce(
        licenses.company, {{ trips }}.taxi, bases.app, bases.base_name, {{ trips }}.dispatching_base_num,
        'Not recorded'
    )
{%- endmacro %}

{% macro companies_of(trips) -%}
left join {{ ref('high_volume_licenses') }} as licenses
    on {{ trips }}.hvfhs_license_num = licenses.hvfhs_license_num
left join {{ ref('fhv_bases') }} as bases
    on {{ trips }}.dispatching_base_num = bases.base_num
{%- endmacro %}
