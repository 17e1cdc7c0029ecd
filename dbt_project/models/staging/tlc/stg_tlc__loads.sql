with source as (

    select * from {{ source('tlc', 'loads') }}
    where {{ month_is_in_target() }}

),

renamed as (

    select
        load_id,
        dataset,
        source_month,
        source,
        is_sample,
        case when is_sample then sampled_one_in else 1 end as sampled_one_in,
        sha256,
        bytes,
        etag,
        last_modified,
        row_count,
        malformed_lines,
        started_at,
        finished_at,
        flow_run_id,
        load_id = max(load_id) over (partition by dataset, source_month) as is_current
    from source

)

select * from renamed
