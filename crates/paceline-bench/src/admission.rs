//! One client against one server in virtual time: how full it runs the quota, how often it is
//! refused, how high its windows go.
