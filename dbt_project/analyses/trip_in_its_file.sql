-- Which row of which file is a trip from? Here for the first trip of the newest month; put any
-- trip_id in its place.
with trip as (

    select
        source_month,
        source_row,
        load_id
    from {{ ref('yellow_taxi_trips') }}
    where trip_id = (
        select min(trip_id) from {{ ref('yellow_taxi_trips') }}
        where source_month = (select max(source_month) from {{ ref('trip_accounting') }})
    )

)

select
    loads.source,
    loads.finished_at as loaded_at,
    raw_rows.source_row,
    raw_rows.*
from trip
inner join {{ source('tlc', 'yellow_tripdata') }} as raw_rows
    on
        trip.source_month = raw_rows.source_month
        and trip.source_row = raw_rows.source_row
inner join {{ ref('stg_tlc__loads') }} as loads
    on trip.load_id = loads.load_id
