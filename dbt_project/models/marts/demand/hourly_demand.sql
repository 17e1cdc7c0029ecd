select
    'yellow' as dataset,
    source_month,
    pickup_location_id,
    extract(isodow from pickup_datetime)::smallint as weekday,
    extract(hour from pickup_datetime)::smallint as hour_of_day,
    {{ metric_columns() }}
from {{ ref('yellow_taxi_trips') }}
group by source_month, pickup_location_id, weekday, hour_of_day
