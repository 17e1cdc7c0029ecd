with ranked as (

    select
        dataset,
        row_number() over (
            partition by dataset order by sum(trips) desc, pickup_location_id asc
        ) as place,
        pickup_zone as title,
        sum(trips)::bigint as trips,
        sum(revenue)::numeric(22, 4) as revenue
    from {{ ref('report_named_zone_pairs') }}
    group by dataset, pickup_location_id, pickup_zone

)

select * from ranked
where place <= 10
