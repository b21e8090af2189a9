package local.searchpipeline;

import java.util.Arrays;
import java.util.Map;
import org.opensearch.action.search.SearchRequest;
import org.opensearch.action.search.SearchResponse;
import org.opensearch.ingest.ConfigurationUtils;
import org.opensearch.search.SearchHit;
import org.opensearch.search.SearchHits;
import org.opensearch.search.aggregations.InternalAggregations;
import org.opensearch.search.internal.InternalSearchResponse;
import org.opensearch.search.pipeline.AbstractProcessor;
import org.opensearch.search.pipeline.PipelineProcessingContext;
import org.opensearch.search.pipeline.Processor;
import org.opensearch.search.pipeline.SearchResponseProcessor;
import org.opensearch.search.pipeline.StatefulSearchResponseProcessor;
import org.opensearch.search.profile.SearchProfileShardResults;

/** Truncates the hits to a given number, or to the number requested before oversampling; does not change the rest of the response. */
final class TruncateHits extends AbstractProcessor implements StatefulSearchResponseProcessor {

    static final String TYPE = "truncate_hits";

    private final Integer targetSize;
    private final String attribute;

    private TruncateHits(String tag, String description, boolean ignoreFailure, Integer targetSize, String attribute) {
        super(tag, description, ignoreFailure);
        this.targetSize = targetSize;
        this.attribute = attribute;
    }

    static TruncateHits create(
        Map<String, Processor.Factory<SearchResponseProcessor>> others,
        String tag,
        String description,
        boolean ignoreFailure,
        Map<String, Object> config,
        Processor.PipelineContext context
    ) {
        Integer size = config.containsKey("target_size") ? ConfigurationUtils.readIntProperty(TYPE, tag, config, "target_size", null) : null;
        if (size != null && size < 0) {
            throw ConfigurationUtils.newConfigurationException(TYPE, tag, "target_size", "Value must be >= 0");
        }
        return new TruncateHits(tag, description, ignoreFailure, size, OriginalSize.attribute(TYPE, tag, config, "context_prefix"));
    }

    @Override
    public SearchResponse processResponse(SearchRequest request, SearchResponse response, PipelineProcessingContext context) {
        Object size = targetSize != null ? targetSize : context.getAttribute(attribute);
        if (!(size instanceof Integer)) {
            throw new IllegalStateException("truncate_hits needs a target_size, or an earlier processor that sets " + attribute);
        }
        SearchHits hits = response.getHits();
        return hits.getHits().length <= (Integer) size ? response : withHits(response, firstOf(hits, (Integer) size));
    }

    private static SearchHits firstOf(SearchHits hits, int size) {
        SearchHit[] kept = Arrays.copyOf(hits.getHits(), size);
        Object[] collapsed = hits.getCollapseValues();  // one for each hit, or none at all
        if (collapsed != null) {
            collapsed = Arrays.copyOf(collapsed, size);
        }
        return new SearchHits(kept, hits.getTotalHits(), hits.getMaxScore(), hits.getSortFields(), hits.getCollapseField(), collapsed);
    }

    private static SearchResponse withHits(SearchResponse response, SearchHits hits) {
        boolean profiled = response.getProfileResults() != null && !response.getProfileResults().isEmpty();
        InternalSearchResponse sections = new InternalSearchResponse(
            hits,
            (InternalAggregations) response.getAggregations(),
            response.getSuggest(),
            profiled ? new SearchProfileShardResults(response.getProfileResults()) : null,
            response.isTimedOut(),
            response.isTerminatedEarly(),
            response.getNumReducePhases(),
            response.getInternalResponse().getSearchExtBuilders(),
            response.getInternalResponse().getProcessorResult()
        );
        return new SearchResponse(
            sections,
            response.getScrollId(),
            response.getTotalShards(),
            response.getSuccessfulShards(),
            response.getSkippedShards(),
            response.getTook().millis(),
            response.getPhaseTook(),
            response.getShardFailures(),
            response.getClusters(),
            response.pointInTimeId()
        );
    }

    @Override
    public String getType() {
        return TYPE;
    }
}
