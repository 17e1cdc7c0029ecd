-- How much of the data is to be taken with a grain of salt?
select
    flags.dataset,
    flags.source_month,
    flags.flag,
    flags.trips,
    round(flags.trips / nullif(accounting.trips, 0)::numeric, 4) as share
from {{ ref('trip_flags') }} as flags
inner join {{ ref('trip_accounting') }} as accounting
    on
        flags.dataset = accounting.dataset
        and flags.source_month = accounting.source_month
where flags.trips > 0
order by flags.dataset asc, flags.source_month asc, flags.trips desc
