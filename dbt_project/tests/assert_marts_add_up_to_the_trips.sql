-- Returns the months in which a mart's sums differ from those of the trips, or that only one of
-- them has.
{%- set measures = summed_metrics() %}
with of_the_trips as (

    select
        dataset,
        source_month,
        {%- for name in measures %}
        {{ metric(name) }} as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('trips') }}
    where {{ months_to_test(ref('trips')) }}
    group by dataset, source_month

),

of_the_marts as (

    {% for mart in ['daily_trips', 'hourly_demand', 'zone_pairs', 'payment_mix'] %}
    select
        '{{ mart }}' as mart,
        dataset,
        source_month,
        {%- for name in measures %}
        sum({{ name }}) as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref(mart) }}
    where {{ months_to_test(ref(mart)) }}
    group by dataset, source_month
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

expected as (

    select
        marts.mart,
        of_the_trips.*
    from of_the_trips
    cross join (values ('daily_trips'), ('hourly_demand'), ('zone_pairs'), ('payment_mix')) as marts (mart)

)

select
    coalesce(expected.dataset, of_the_marts.dataset) as dataset,
    coalesce(expected.source_month, of_the_marts.source_month) as source_month,
    coalesce(expected.mart, of_the_marts.mart) as mart,
    expected.trips,
    of_the_marts.trips as trips_of_the_mart,
    expected.revenue,
    of_the_marts.revenue as revenue_of_the_mart
from expected
full outer join of_the_marts
    on
        expected.mart = of_the_marts.mart
        and expected.dataset = of_the_marts.dataset
        and expected.source_month = of_the_marts.source_month
where
    {%- for name in measures %}
    expected.{{ name }} is distinct from of_the_marts.{{ name }}{{ ' or' if not loop.last }}
    {%- endfor %}
