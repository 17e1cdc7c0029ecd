with trips as (

    select
        coalesce(sum(trips), 0)::bigint as trips,
        coalesce(sum(revenue), 0) as revenue,
        sum(fares) / nullif(sum(trips), 0) as average_fare,
        sum(card_tips) / nullif(sum(card_fares), 0) as tip_rate
    from {{ ref('daily_trips') }}
    where dataset = 'yellow'

),

unknown as (

    select coalesce(sum(trips), 0)::bigint as trips_without_zones
    from {{ ref('report_named_zone_pairs') }}
    where not has_known_zone

)

select
    trips.trips,
    trips.revenue,
    trips.average_fare,
    trips.tip_rate,
    unknown.trips_without_zones
from trips
cross join unknown
