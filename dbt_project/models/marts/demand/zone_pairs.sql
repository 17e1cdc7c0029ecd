select
    'yellow' as dataset,
    source_month,
    pickup_location_id,
    dropoff_location_id,
    {{ metric_columns() }}
from {{ ref('yellow_taxi_trips') }}
group by source_month, pickup_location_id, dropoff_location_id
