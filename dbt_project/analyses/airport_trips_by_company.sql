-- What does a trip from each airport cost, by who drives? Without tips, of which TLC records none
-- in cash, and without refunds.
select
    pickup_zone as airport,
    company,
    count(*) as trips,
    round(avg(total_amount - coalesce(tip_amount, 0)), 2) as average_cost,
    round(avg(trip_distance), 1) as average_miles
from {{ ref('trips') }}
where
    pickup_zone in ('JFK Airport', 'LaGuardia Airport', 'Newark Airport')
    and (faults && array['refund', 'refunded', 'unpaid']) is not true
    and total_amount is not null
group by pickup_zone, company
order by airport asc, trips desc
