-- Which row of which file is a trip from? Here the first yellow one; put any trip_id in its place,
-- and its dataset.
select origin.*
from trip_origin(
    (select min(first_trips.trip_id) from {{ ref('yellow_taxi_trips') }} as first_trips), 'yellow'
) as origin
