select
    dataset,
    source_month,
    pickup_datetime::date as day,
    coalesce(pickup_borough, 'Not recorded') as borough,
    {{ metric_columns() }}
from {{ ref('trips') }}
group by dataset, source_month, day, coalesce(pickup_borough, 'Not recorded')
