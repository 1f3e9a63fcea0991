"""Cron schedules: claimed when due, submitted as durable calls, planned anew."""
