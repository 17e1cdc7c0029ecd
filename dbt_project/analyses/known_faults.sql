-- How much of the data is to be taken with a grain of salt, and what is done about it?
select
    counts.dataset,
    counts.source_month,
    faults.title,
    faults.what_is_done,
    sum(counts.trips) as trips,
    round(sum(counts.trips) / nullif(accounting.trips, 0)::numeric, 4) as share
from {{ ref('trip_faults') }} as counts
inner join {{ ref('known_faults') }} as faults
    on counts.fault = faults.fault
inner join {{ ref('trip_accounting') }} as accounting
    on
        counts.dataset = accounting.dataset
        and counts.source_month = accounting.source_month
group by
    counts.dataset,
    counts.source_month,
    faults.title,
    faults.what_is_done,
    accounting.trips
order by counts.dataset asc, counts.source_month asc, trips desc
