-- What does a taxi to each airport cost, and how long does it take?
select
    dropoff_zone as airport,
    {{ metric('trips') }} as trips,
    round(avg(total_amount), 2) as average_total,
    round(
        percentile_cont(0.5) within group (order by duration_minutes)::numeric
    ) as median_minutes
from {{ ref('trips_enriched') }}
where
    dataset in ('yellow', 'green')
    and dropoff_zone in ('JFK Airport', 'LaGuardia Airport', 'Newark Airport')
    and (faults && array['refund', 'refunded', 'unpaid']) is not true
group by dropoff_zone
order by trips desc
