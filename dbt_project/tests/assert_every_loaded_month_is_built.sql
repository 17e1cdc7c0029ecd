-- Returns the months, loaded before this run began, that are not, or not from their latest load, in
-- the models.
select
    loads.dataset,
    loads.source_month,
    loads.load_id
from {{ ref('stg_tlc__loads') }} as loads
left join {{ ref('trip_accounting') }} as accounting
    on loads.load_id = accounting.load_id
where
    loads.is_current
    and loads.finished_at < '{{ run_started_at }}'
    and accounting.load_id is null
