with trips as (

    select
        dataset,
        coalesce(sum(trips), 0)::bigint as trips,
        sum(revenue)::numeric(22, 4) as revenue,
        (sum(fares) / nullif(sum(trips_with_fare), 0))::numeric(20, 4) as average_fare,
        (sum(card_tips) / nullif(sum(card_fares), 0))::numeric(20, 4) as tip_rate
    from {{ ref('daily_trips') }}
    group by dataset

),

unknown as (

    select
        dataset,
        sum(trips)::bigint as trips_without_zones
    from {{ ref('report_named_zone_pairs') }}
    where not has_known_zone
    group by dataset

),

distances as (

    select
        dataset,
        max(measured) as median_distance
    from {{ ref('month_health') }}
    where measure = 'median miles'
    group by dataset

)

select
    trips.dataset,
    trips.trips,
    trips.revenue,
    trips.average_fare,
    trips.tip_rate,
    coalesce(unknown.trips_without_zones, 0) as trips_without_zones,
    distances.median_distance
from trips
left join unknown
    on trips.dataset = unknown.dataset
left join distances
    on trips.dataset = distances.dataset
