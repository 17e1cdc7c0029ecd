-- Between which zones do taxis earn the most on Friday nights?
select
    pickup_zone,
    dropoff_zone,
    {{ metric('trips') }} as trips,
    {{ metric('revenue') }} as revenue
from {{ ref('trips_enriched') }}
where
    dataset in ('yellow', 'green')
    and extract(isodow from pickup_datetime) = 5
    and extract(hour from pickup_datetime) >= 20
group by pickup_zone, dropoff_zone
order by revenue desc, trips desc
limit 10
