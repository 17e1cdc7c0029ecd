with demand as materialized (

    select
        dataset,
        source_month,
        pickup_location_id,
        extract(isodow from pickup_datetime)::smallint as weekday,
        extract(hour from pickup_datetime)::smallint as hour_of_day,
        {{ metric_columns() }}
    from {{ ref('trips') }}
    where {{ is_of_the_month() }}
    group by dataset, source_month, pickup_location_id, weekday, hour_of_day

)

select
    demand.dataset,
    demand.source_month,
    sampling.sampled_one_in,
    demand.pickup_location_id,
    zones.borough as pickup_borough,
    zones.zone as pickup_zone,
    demand.weekday,
    demand.hour_of_day,
    {{ metric_names('demand') }}
from demand
left join {{ ref('taxi_zones') }} as zones
    on demand.pickup_location_id = zones.location_id
left join {{ ref('int_tlc__sampling') }} as sampling
    on
        demand.dataset = sampling.dataset
        and demand.source_month = sampling.source_month
