select
    'yellow' as dataset,
    trips.source_month,
    trips.pickup_datetime::date as day,
    coalesce(zones.borough, 'Unknown') as borough,
    {{ metric_columns() }}
from {{ ref('yellow_taxi_trips') }} as trips
left join {{ ref('taxi_zones') }} as zones
    on trips.pickup_location_id = zones.location_id
group by trips.source_month, day, coalesce(zones.borough, 'Unknown')
