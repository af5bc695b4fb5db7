package pg

import (
	"context"
	"fmt"
	"time"
)

// Lifetime says when a thing that a command made still lives: its stream begins, in Category, and none of Ends has happened.
type Lifetime struct {
	Category string
	Ends     []string
}

// PruneCommands forgets accepted commands that are older than age, but for those whose resource still lives. It returns how
// many it forgot. It may be called by several processes at once.
func (s *Store) PruneCommands(ctx context.Context, age time.Duration, life Lifetime) (int64, error) {
	tag, err := s.pool.Exec(ctx, `
		DELETE FROM commands c
		 WHERE c.recorded_at < clock_timestamp() - $1::interval
		   AND NOT EXISTS (
		         SELECT
		           FROM events b
		          WHERE b.stream = $2 || '-' || c.resource_id AND b.version = 1
		            AND NOT EXISTS (SELECT FROM events e WHERE e.stream = b.stream AND e.name = ANY($3)))`,
		age, life.Category, life.Ends)
	if err != nil {
		return 0, unavailable(fmt.Errorf("forget old commands: %w", err))
	}
	return tag.RowsAffected(), nil
}
