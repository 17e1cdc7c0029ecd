alter table if exists staging.built_months set schema bookkeeping;
alter table if exists staging.built_shapes set schema bookkeeping;
alter table if exists staging.built_projects set schema bookkeeping;

comment on table raw.locks is 'What two runs must not do at once (nyc-taxi-elt)';
comment on table bookkeeping.built_months is
'The load of which each month of a model has been built (nyc-taxi-elt)';
comment on table bookkeeping.built_shapes is
'The columns and constraints that a model''s table has been made with (nyc-taxi-elt)';
comment on table bookkeeping.built_projects is
'The project with which all models were last built and all tests passed (nyc-taxi-elt)';
