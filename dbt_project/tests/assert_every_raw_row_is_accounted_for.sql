-- A raw row is a trip, a trip without passengers, or rejected; and all that the loader counted
-- are there. Returns the months of which this is not so.
select
    accounting.dataset,
    accounting.source_month,
    accounting.raw_rows,
    accounting.trips,
    accounting.zero_passenger_trips,
    accounting.rejected_trips,
    loads.row_count
from {{ ref('trip_accounting') }} as accounting
inner join {{ ref('stg_tlc__loads') }} as loads
    on accounting.load_id = loads.load_id
-- A month that has been loaded again since its trips were built is for the next build.
inner join {{ source('bookkeeping', 'built_months') }} as built
    on
        loads.load_id = built.load_id
        and built.relation in ({{ tables_of_trips() }})
where
    loads.is_current
    and (
        accounting.raw_rows
        <> accounting.trips + accounting.zero_passenger_trips + accounting.rejected_trips
        or accounting.raw_rows <> loads.row_count
    )
