with ranked as (

    select
        dataset,
        row_number() over (
            partition by dataset
            order by trips desc, pickup_location_id asc, dropoff_location_id asc
        ) as place,
        pickup_zone || ' → ' || dropoff_zone as title,
        trips,
        revenue
    from {{ ref('report_named_zone_pairs') }}
    where has_known_zone

)

select * from ranked
where place <= 10
