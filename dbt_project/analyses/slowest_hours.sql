-- At what hour does the traffic in Manhattan stand still?
select
    extract(hour from pickup_datetime)::int as hour_of_day,
    count(*) as trips,
    round(percentile_cont(0.5) within group (order by speed_mph)::numeric, 1) as median_mph
from {{ ref('trips_enriched') }}
where
    pickup_borough = 'Manhattan'
    and dropoff_borough = 'Manhattan'
    and speed_mph between 0.5 and 80
group by hour_of_day
order by median_mph
