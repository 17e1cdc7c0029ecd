-- A trip with two faults counts for both.
select
    trips.dataset,
    trips.source_month,
    trips.vendor_id,
    marked.fault,
    count(*) as trips
from {{ ref('trips') }} as trips
cross join lateral unnest(trips.faults) as marked (fault)
where trips.faults is not null and {{ is_of_the_month() }}
group by trips.dataset, trips.source_month, trips.vendor_id, marked.fault
