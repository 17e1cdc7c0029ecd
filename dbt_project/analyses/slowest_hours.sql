-- At what hour does the traffic in Manhattan stand still?
select
    extract(hour from pickup_datetime)::int as hour_of_day,
    {{ metric('trips') }} as trips,
    round(sum(trip_distance) / sum(duration_minutes) * 60, 1) as miles_an_hour
from {{ ref('trips_enriched') }}
where
    pickup_borough = 'Manhattan'
    and dropoff_borough = 'Manhattan'
    and speed_mph between 0.5 and 80
group by hour_of_day
order by miles_an_hour, hour_of_day
