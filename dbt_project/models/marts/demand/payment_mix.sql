select
    'yellow' as dataset,
    source_month,
    pickup_datetime::date as day,
    payment_type_id,
    {{ metric_columns() }}
from {{ ref('yellow_taxi_trips') }}
group by source_month, day, payment_type_id
