-- What does a trip from each airport cost, by who drives it? Tips included, refunds left out.
select
    pickup_zone as airport,
    dataset,
    provider,
    count(*) as trips,
    round(avg(total_amount), 2) as average_total,
    round(avg(trip_distance), 1) as average_miles
from {{ ref('trips') }}
where
    pickup_zone in ('JFK Airport', 'LaGuardia Airport', 'Newark Airport')
    and has_negative_amount is not true
    and provider is not null
group by pickup_zone, dataset, provider
order by airport asc, trips desc
