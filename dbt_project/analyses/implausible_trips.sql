-- How much of the data is to be taken with a grain of salt?
select
    source_month,
    count(*) as trips,
    count(*) filter (where is_dropoff_before_pickup) as dropoff_before_pickup,
    count(*) filter (where is_fare_without_distance) as fare_without_distance,
    count(*) filter (where has_negative_amount) as negative_amount,
    count(*) filter (where is_outside_source_month) as outside_source_month,
    count(*) filter (where speed_mph > 100) as faster_than_100_mph
from {{ ref('yellow_taxi_trips') }}
group by source_month
order by source_month
