-- resourcesvc has a database of its own, never that of authsvc.
CREATE DATABASE resource OWNER tocsin;
