-- Whether each value of the month is written plainly, as the loader has seen; false of months from
-- before it looked. The models cast those values as they are.
alter table raw.loads add column is_plain boolean not null default false;
