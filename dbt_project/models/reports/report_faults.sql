select
    counts.dataset,
    faults.place,
    faults.fault,
    faults.title,
    faults.what_is_done,
    sum(counts.trips)::bigint as trips
from {{ ref('trip_faults') }} as counts
inner join {{ ref('known_faults') }} as faults
    on counts.fault = faults.fault
group by counts.dataset, faults.place, faults.fault, faults.title, faults.what_is_done
