-- Which row of which file is a trip from? Here for the first trip; put any trip_id in its place.
select
    trips.trip_id,
    loads.source,
    loads.finished_at as loaded_at,
    trips.source_row,
    jsonb_strip_nulls(to_jsonb(raw_rows.*)) as raw_values
from {{ ref('yellow_taxi_trips') }} as trips
inner join {{ source('tlc', 'yellow_tripdata') }} as raw_rows
    on
        trips.source_month = raw_rows.source_month
        and trips.source_row = raw_rows.source_row
inner join {{ ref('stg_tlc__loads') }} as loads
    on trips.load_id = loads.load_id
where
    trips.trip_id = (
        select min(first_trips.trip_id) from {{ ref('yellow_taxi_trips') }} as first_trips
    )
