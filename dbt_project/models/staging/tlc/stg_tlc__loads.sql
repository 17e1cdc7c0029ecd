with source as (

    select * from {{ source('tlc', 'loads') }}

),

renamed as (

    select
        load_id,
        source_month,
        source,
        sha256,
        bytes,
        row_count,
        malformed_lines,
        started_at,
        finished_at,
        flow_run_id,
        load_id = max(load_id) over (partition by source_month) as is_current
    from source

)

select * from renamed
