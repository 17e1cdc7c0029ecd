select
    dataset,
    source_month,
    is_sample,
    raw_rows,
    trips,
    zero_passenger_trips,
    rejected_trips,
    malformed_lines
from {{ ref('trip_accounting') }}
